// The workflows: every action pinned by its commit, and no permission that a job does not name.
import { files, read } from './tree.ts';

const USES = /^\s*(?:- )?uses: *(\S+)(.*)$/;
const PINNED = /^[\w.-]+(?:\/[\w.-]+)+@[0-9a-f]{40}$/;

export function checkWorkflows(): string[] {
  return files('.github/workflows/*.{yml,yaml}').flatMap((file) => {
    const lines = read(file).split('\n');
    return [
      ...(lines.includes('permissions: {}')
        ? []
        : [
            `${file} gives permissions to all jobs: write “permissions: {}” at the top, and each job what it needs`,
          ]),
      ...lines.flatMap((line, index) => {
        const [, action = '', comment = ''] = USES.exec(line) ?? [];
        if (action === '' || action.startsWith('./') || (PINNED.test(action) && /# v\d/.test(comment)))
          return [];
        return [`${file}:${index + 1} uses ${action}: pin it by its commit, with the version in a comment`];
      }),
    ];
  });
}
