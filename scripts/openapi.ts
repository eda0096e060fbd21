// Writes what each service answers at /openapi.json, and the whole of it as the gateway does, into docs/reference/openapi.
// With --check it only says whether the files are what the services say today.
import { combineApis, describeApi } from '../packages/chassis/src/index.ts';
import { settle } from './generated.ts';
import { serviceDescriptions } from './services.ts';
import { read } from './tree.ts';

const directory = 'docs/reference/openapi';

const services = await serviceDescriptions();
const documents = services.map(({ name, version, routes = [], migrations }) =>
  describeApi({ name, version, routes, database: migrations !== undefined }),
);
// The gateway is the face of the whole, and names itself last.
const [face] = documents.filter(({ info }) => info.title === 'gateway');
const whole = combineApis([...documents.filter((document) => document !== face), ...(face ? [face] : [])], {
  title: 'Warren',
  version: face?.info.version ?? (JSON.parse(read('package.json')) as { version: string }).version,
});
await settle(
  new Map(
    [...documents, whole].map((document) => [
      `${directory}/${document.info.title.toLowerCase()}.json`,
      document,
    ]),
  ),
  directory,
);
