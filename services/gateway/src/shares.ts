// Something of which there is only so much, and of which no client may hold more than a quarter.

export interface Shares {
  /**
   * Takes `amount` (1) for the client. Call what it returns to give it back; again does nothing.
   * @returns undefined when so much is not left, or not of the client's share
   */
  take(client: string, amount?: number): (() => void) | undefined;
}

/** @param size of it; a share is a quarter, 1 at least */
export function createShares(size: number): Shares {
  const share = Math.max(1, Math.floor(size / 4));
  const held = new Map<string, number>();
  let taken = 0;

  function hold(client: string, amount: number): void {
    taken += amount;
    const now = (held.get(client) ?? 0) + amount;
    if (now === 0) held.delete(client);
    else held.set(client, now);
  }

  return {
    take(client, amount = 1) {
      if (taken + amount > size || (held.get(client) ?? 0) + amount > share) return undefined;
      hold(client, amount);
      let given = true;
      return () => {
        if (given) hold(client, -amount);
        given = false;
      };
    },
  };
}
