// One planted fault: a change of one place that breaks a promise, and the tests that must fail over it.
import { parseSync } from 'oxc-parser';

export interface Mutant {
  /** What is wrong with it, as a sentence; unique. */
  name: string;
  /** Seen from the root of the checkout. */
  file: string;
  /** Text that occurs in the file exactly once. */
  find: string;
  replace: string;
  /** The directory whose tests are to find it. */
  suite: string;
  /** Test files, seen from the suite. */
  tests: string[];
  /** Runs only the tests whose full title contains this. */
  title?: string;
}

/**
 * The text of the mutant's file with the fault in it.
 * @throws when `find` does not occur exactly once, or the result is not TypeScript: every test would find that
 */
export function plant({ name, file, find, replace }: Mutant, text: string): string {
  const parts = text.split(find);
  if (parts.length !== 2)
    throw new Error(
      `'${name}': the text to replace occurs ${parts.length - 1} times in ${file}; it must occur once`,
    );
  const planted = parts.join(replace);
  const mistake = file.endsWith('.ts') ? parseSync(file, planted).errors[0] : undefined;
  if (mistake)
    throw new Error(`'${name}': ${file} is not valid TypeScript with this fault: ${mistake.message}`);
  return planted;
}
