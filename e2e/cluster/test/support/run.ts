import { execFile } from 'node:child_process';

export interface RunOptions {
  /** What the command reads from standard input. */
  input?: string;
  /** ms, default 300,000 */
  timeout?: number;
  cwd?: string;
}

/** Runs a command to its end; gives its standard output. @throws {Error} with what it said, when it fails */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { input = '', timeout = 300_000, cwd } = options;
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { timeout, cwd, maxBuffer: 256 * 1024 ** 2 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const reason = error.killed ? `did not end within ${timeout} ms` : (stderr + stdout).trim();
        reject(
          new Error(
            'code' in error && error.code === 'ENOENT'
              ? `${command} is missing: the tests of the cluster need it on the PATH`
              : `${command} ${args.join(' ').slice(0, 200)}: ${reason.slice(-4_000)}`,
          ),
        );
      },
    );
    child.stdin?.on('error', () => {}); // it has ended without reading
    child.stdin?.end(input);
  });
}

/** What a command that has to fail said. @throws {Error} when it does not fail */
export async function refusal(
  command: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string> {
  let said: string;
  try {
    said = await run(command, args, options);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`${command} ${args.join(' ')} was not refused: ${said}`);
}
