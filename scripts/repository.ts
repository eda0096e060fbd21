// Where this repository is published: registries show it, and npm refuses a provenance that names another one.
import { spawnSync } from 'node:child_process';
import { root } from './tree.ts';

/** `https://HOST/OWNER/NAME`: of REPOSITORY_URL, or of git's remote `origin`; undefined if there is neither. */
export function repositoryUrl(): string | undefined {
  const from = process.env.REPOSITORY_URL || origin();
  if (!from) return undefined;
  const [, host, path] =
    /^(?:https?:\/\/|ssh:\/\/|git\+https:\/\/)?(?:[^@/]*@)?(\w[\w.-]*)[:/](.+?)(?:\.git)?\/?$/.exec(from) ??
    [];
  return host?.includes('.') ? `https://${host}/${path}` : undefined;
}

function origin(): string {
  const { status, stdout } = spawnSync('git', ['remote', 'get-url', 'origin'], {
    cwd: root,
    encoding: 'utf8',
  });
  return status === 0 ? stdout.trim() : '';
}
