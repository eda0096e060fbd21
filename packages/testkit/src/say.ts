/** Where the testkit tells what it does: one line a fact, on standard error, so that test reports stay clean. */
export type Say = (line: string) => void;

export const say: Say = (line) => void process.stderr.write(`testkit: ${line}\n`);
