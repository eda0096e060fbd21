// Subjects of commits: Conventional Commits, at most 72 characters. Of a pull request those that it adds, otherwise those since
// the rule was introduced.
// https://www.conventionalcommits.org/en/v1.0.0/
import { spawnSync } from 'node:child_process';
import { NotRun } from './not-run.ts';
import { root } from './tree.ts';

const LONGEST = 72;
const TYPES = 'build|chore|ci|docs|feat|fix|perf|refactor|revert|style|test';
const FORM = new RegExp(`^(${TYPES})(\\([a-z0-9-]+\\))?!?: \\S`);
/** Commits before this day are older than the rule. */
const SINCE = '2026-11-30T19:00:00Z';

/** @throws {NotRun} without git, without a repository, and where the history is not there */
export function checkCommits(): string[] {
  const range = process.env.COMMITS || 'HEAD';
  const { status, stdout } = spawnSync(
    'git',
    ['log', '--no-merges', '--format=%h %s', ...(range === 'HEAD' ? [`--since=${SINCE}`] : []), range, '--'],
    { cwd: root, encoding: 'utf8' },
  );
  if (status !== 0) throw new NotRun(`git does not have the commits ${range}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const [, hash, subject = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
      const faults = [
        ...(subject.length > LONGEST ? [`has ${subject.length} characters, ${LONGEST} at most`] : []),
        ...(FORM.test(subject)
          ? []
          : [`does not begin like \`fix(email): \` (${TYPES.replaceAll('|', ', ')})`]),
      ];
      return faults.map((fault) => `${hash} “${subject}” ${fault}`);
    });
}
