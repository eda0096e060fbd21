// `npm run topology` in a service's directory: everything its broker.ts stands for, as plain Rascal configuration.
import { resolve } from 'node:path';
import { rascalConfig } from '../packages/chassis/src/index.ts';
import { brokerIn } from './brokers.ts';

console.log(JSON.stringify(rascalConfig(await brokerIn(resolve('src/broker.ts'))), null, 2));
