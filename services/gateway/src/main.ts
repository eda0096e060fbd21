import { run } from '@warren/chassis';
import { service } from './service.ts';

await run(service);
