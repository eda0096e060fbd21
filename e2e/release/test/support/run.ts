import { execFile } from 'node:child_process';

/** Runs a command, and returns its standard output; what it printed is in the error of one that fails. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv },
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { maxBuffer: 64 * 1024 ** 2, ...options }, (error, stdout, stderr) =>
      error
        ? reject(new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error }))
        : resolve(stdout),
    );
  });
}
