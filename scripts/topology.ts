// `npm run topology` in a service's directory: everything its broker.ts stands for, as plain Rascal configuration.
import { resolve } from 'node:path';
import { brokerConfig } from './brokers.ts';

console.log(JSON.stringify(await brokerConfig(resolve('src/broker.ts')), null, 2));
