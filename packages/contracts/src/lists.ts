/** Items that a method lists: the newest ones. A reply that grows without bound would one day be too large to send. */
export const LISTED_AT_MOST = 100;
