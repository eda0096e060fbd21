// Known vulnerabilities of severity high or critical in what the lockfiles name, as `npm audit` reports them. The registry's data
// change from day to day, so this check runs only when it is named: make check CHECKS=audit
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { NotRun } from './not-run.ts';
import { directories, root } from './tree.ts';

interface Report {
  vulnerabilities?: Record<string, { severity: string; via: ({ title: string; url: string } | string)[] }>;
}

/** @throws {NotRun} if the registry returns no audit data */
export async function checkAudit(): Promise<string[]> {
  const findings: string[] = [];
  for (const directory of ['.', ...directories()]) {
    const { vulnerabilities } = await audit(directory);
    if (vulnerabilities === undefined)
      throw new NotRun('the configured npm registry has no audit data or is unreachable');
    for (const [name, { severity, via }] of Object.entries(vulnerabilities)) {
      if (severity !== 'high' && severity !== 'critical') continue;
      const why = via.map((each) =>
        typeof each === 'string' ? `by ${each}` : `${each.title} (${each.url})`,
      );
      findings.push(`${join(directory, 'package-lock.json')}: ${name} (${severity}): ${why.join('; ')}`);
    }
  }
  return findings;
}

function audit(directory: string): Promise<Report> {
  const options = { cwd: join(root, directory), timeout: 120_000, maxBuffer: 64 * 1024 ** 2 };
  return new Promise((resolve) => {
    // Its exit code is 1 for findings and for a registry that does not respond: the report distinguishes them.
    execFile('npm', ['audit', '--package-lock-only', '--json'], options, (_error, stdout) => {
      try {
        resolve(JSON.parse(stdout) as Report);
      } catch {
        resolve({});
      }
    });
  });
}
