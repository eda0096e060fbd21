// What the services say about the broker: their broker.ts, with the settings they start with when told nothing else.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BrokerConfig, defaultBrokerSettings } from '../packages/chassis/src/index.ts';
import { directories, root } from './tree.ts';

/** By service, in the order of their names; services without a broker.ts have nothing on the broker. */
export async function brokerConfigs(): Promise<Map<string, BrokerConfig>> {
  const configs = new Map<string, BrokerConfig>();
  for (const directory of directories('services')) {
    const file = join(root, directory, 'src', 'broker.ts');
    if (existsSync(file)) configs.set(directory.slice('services/'.length), await brokerConfig(file));
  }
  return configs;
}

/** The Rascal configuration that a broker.ts gives, with every helper in it expanded. */
export async function brokerConfig(file: string): Promise<BrokerConfig> {
  const { broker } = await import(pathToFileURL(file).href);
  return broker(defaultBrokerSettings);
}
