// The process behind cleanup.ts: reads what to remove, waits until its parent exits, and removes it.
import { rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { CleanupTarget } from './cleanup.ts';
import { endGroup } from './process-group.ts';

const targets = new Map<number, CleanupTarget>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const { id, target } = JSON.parse(line) as { id: number; target?: CleanupTarget };
  if (target) targets.set(id, target);
  else targets.delete(id);
}

for (const target of [...targets.values()].reverse()) {
  await remove(target).catch((error: Error) =>
    console.error(`testkit: cannot remove ${JSON.stringify(target)}: ${error.message}`),
  );
}

async function remove(target: CleanupTarget): Promise<void> {
  switch (target.type) {
    case 'processes':
      return endGroup(target.group, { signal: target.signal, grace: 3_000 });
    case 'directory':
      return rm(target.path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    case 'file':
      return target.from ? rename(target.from, target.path) : rm(target.path, { force: true });
    case 'resource':
      await fetch(target.url, {
        method: 'DELETE',
        headers: { authorization: target.authorization },
        signal: AbortSignal.timeout(5_000),
      });
      return;
    case 'container': {
      const { removeContainer } = await import('./rabbitmq/docker.ts');
      return removeContainer(target.name);
    }
    case 'database': {
      const { dropDatabase } = await import('./postgres/database.ts');
      return dropDatabase(target.server, target.name, target.role);
    }
  }
}
