// Loads the definitions of the services: their service.ts.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ServiceDescription } from '../packages/chassis/src/index.ts';
import { directories, root } from './tree.ts';

/** Every services/NAME with a src/service.ts, in the order of their names. */
export async function serviceDescriptions(): Promise<ServiceDescription[]> {
  const descriptions: ServiceDescription[] = [];
  for (const directory of directories('services')) {
    const file = join(root, directory, 'src', 'service.ts');
    if (!existsSync(file)) continue;
    const { service } = await import(pathToFileURL(file).href);
    if (service === undefined) throw new Error(`${directory}/src/service.ts exports no \`service\`.`);
    descriptions.push(service);
  }
  return descriptions;
}
