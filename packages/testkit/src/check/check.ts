import type { Context } from './context.ts';
import type { CheckName } from './names.ts';

/** One part of the wire contract. */
export interface Check {
  name: CheckName;
  /** For the reference: what the service has to do. */
  demands: string;
  /** For the reference: what goes wrong otherwise. */
  why: string;
  /**
   * Reports faults to the context.
   * @throws {NotChecked} if it cannot run
   */
  run(context: Context): Promise<void>;
}
