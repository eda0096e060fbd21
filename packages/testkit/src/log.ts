/** Logs what the testkit does: one line per fact, to standard error, which keeps test reports clean. */
export type Log = (line: string) => void;

export const log: Log = (line) => void process.stderr.write(`testkit: ${line}\n`);
