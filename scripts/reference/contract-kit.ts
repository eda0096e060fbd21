// The checks of the contract kit, the faults that they find, and the queues that are checked.
import { CASES } from '../../e2e/tooling/test/contract-cases.ts';
import { CHECKS } from '../../packages/testkit/src/check/checks/index.ts';
import { FAULTS, type Fault } from '../../packages/testkit/test/fixtures/foreign/faults.ts';
import { code, table } from './table.ts';

export function contractKitTables(): Record<string, string> {
  const names = CHECKS.map(({ name }) => name);
  return {
    'contract-checks': table(
      ['check', 'demands', 'why'],
      CHECKS.map(({ name, demands, why }) => [code(name), demands, why]),
    ),
    'contract-faults': table(
      ['the service', ...names],
      Object.values<Fault>(FAULTS).map(({ what, broken, perhaps = [] }) => [
        what,
        ...names.map((name) => (broken.includes(name) ? '●' : perhaps.includes(name) ? '○' : '')),
      ]),
    ),
    'contract-services': table(
      ['service', 'queue', 'method', 'not checked'],
      Object.entries(CASES).map(([service, { queue, method, unchecked }]) => [
        service,
        code(queue),
        code(method?.name),
        unchecked.map(code).join(', '),
      ]),
    ),
  };
}
