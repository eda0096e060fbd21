/** The checks, in the order in which they run. */
export const CHECK_NAMES = [
  'topology',
  'handled',
  'duplicates',
  'reordering',
  'unknown-fields',
  'variants',
  'poison',
  'forged',
  'failing',
  'rpc',
  'crash',
  'drain',
  'publisher',
] as const;

export type CheckName = (typeof CHECK_NAMES)[number];
