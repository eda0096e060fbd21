// A limited resource: one client may hold a quarter of it, and requests of one kind a part of it.

export interface Shares {
  /**
   * Takes `amount` for the client.
   * @param kind one of `limits`; without it only the client's share and the whole count
   * @returns releases it, a second call does nothing; undefined if `amount` exceeds the rest, the share, or the kind's limit
   */
  take(client: string, amount?: number, kind?: string): (() => void) | undefined;
}

/**
 * @param size of the resource; a share is a quarter, 1 at least
 * @param limits by kind: how much requests of a kind may hold together
 */
export function createShares(size: number, limits: Readonly<Record<string, number>> = {}): Shares {
  const share = Math.max(1, Math.floor(size / 4));
  const held = new Map<string, number>();
  const byKind = new Map<string, number>();
  let taken = 0;

  function add(sums: Map<string, number>, name: string, amount: number): void {
    const now = (sums.get(name) ?? 0) + amount;
    if (now === 0) sums.delete(name);
    else sums.set(name, now);
  }

  function hold(client: string, amount: number, kind: string): void {
    taken += amount;
    add(held, client, amount);
    add(byKind, kind, amount);
  }

  return {
    take(client, amount = 1, kind = '') {
      if (taken + amount > size || (held.get(client) ?? 0) + amount > share) return undefined;
      if ((byKind.get(kind) ?? 0) + amount > (limits[kind] ?? size)) return undefined;
      hold(client, amount, kind);
      let given = true;
      return () => {
        if (given) hold(client, -amount, kind);
        given = false;
      };
    },
  };
}
