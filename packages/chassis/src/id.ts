import { randomFillSync } from 'node:crypto';

let last = 0;
/** Random bytes for the next ids: one call for many costs as much as one for a few. */
const pool = Buffer.alloc(4_096);
let used = pool.length;

/**
 * A new UUIDv7 (RFC 9562): unique, and ordered by creation within a process, which keeps indexes dense.
 * Milliseconds, then 12 bits of counter, then 62 random bits.
 */
export function newId(): string {
  // The counter borrows from the next millisecond when this one is used up, as RFC 9562 section 6.2 method 1 allows.
  last = Math.max(Date.now() * 4096, last + 1);
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const bytes = pool.subarray(used, used + 16);
  used += 16;
  bytes.writeUIntBE(Math.floor(last / 4096), 0, 6);
  bytes.writeUInt16BE(0x7000 | (last % 4096), 6);
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
