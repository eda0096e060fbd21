// Subjects of commits: Conventional Commits, at most 72 characters. Of the range in COMMITS, which CI sets to what was pushed;
// otherwise of the commits after the one that introduced the rule.
// https://www.conventionalcommits.org/en/v1.0.0/
import { spawnSync } from 'node:child_process';
import { NotRun } from './not-run.ts';
import { root } from './tree.ts';

const MAX_LENGTH = 72;
const TYPES = ['build', 'chore', 'ci', 'docs', 'feat', 'fix', 'perf', 'refactor', 'revert', 'style', 'test'];
const FORM = new RegExp(`^(${TYPES.join('|')})(\\([a-z0-9-]+\\))?!?: \\S`);
/** Older commits do not follow the rule. */
const LAST_FREE = '63141490c6116e83bb290c7c8c68470d95a2cd24';

/** @throws {NotRun} without git, and where the history lacks the range, as in a shallow clone */
export function checkCommits(): string[] {
  const range = process.env.COMMITS || `${LAST_FREE}..HEAD`;
  const { status, stdout } = spawnSync('git', ['log', '--no-merges', '--format=%h %s', range, '--'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new NotRun(`git does not have the commits ${range} here`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const [, hash, subject = ''] = /^(\S+) (.*)$/.exec(line) ?? [];
      return faultsOf(subject).map((fault) => `${hash} “${subject}” ${fault}`);
    });
}

function faultsOf(subject: string): string[] {
  return [
    ...(subject.length > MAX_LENGTH ? [`has ${subject.length} characters: ${MAX_LENGTH} at most`] : []),
    ...(FORM.test(subject) ? [] : [`does not begin like “fix(email): ”, with one of ${TYPES.join(', ')}`]),
  ];
}
