/** Why a check could not be made here. */
export class NotRun extends Error {}
