// Loads the broker.ts of the services, expanded with the default settings.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BrokerConfig, type BrokerDefinition, rascalConfig } from '../packages/chassis/src/index.ts';
import { directories, root } from './tree.ts';

/** By service, in the order of their names; services without a broker.ts are left out. */
export async function brokerConfigs(): Promise<Map<string, BrokerConfig>> {
  const configs = new Map<string, BrokerConfig>();
  for (const directory of directories('services')) {
    const file = join(root, directory, 'src', 'broker.ts');
    if (!existsSync(file)) continue;
    const service = directory.slice('services/'.length);
    const broker = await brokerIn(file);
    if (broker.service !== service)
      throw new Error(
        `${directory}/src/broker.ts is of the service ${broker.service}: name ${service} in it.`,
      );
    configs.set(service, rascalConfig(broker));
  }
  return configs;
}

export async function brokerIn(file: string): Promise<BrokerDefinition> {
  const { broker } = (await import(pathToFileURL(file).href)) as { broker: BrokerDefinition };
  return broker;
}
