// Writes the OpenAPI document of each service, and the one of the whole that the gateway returns, to docs/reference/openapi.
// With --check it only says which file differs.
import { combineApis, describeApi } from '../packages/chassis/src/index.ts';
import { writeDocuments } from './generated.ts';
import { serviceDescriptions } from './services.ts';
import { read } from './tree.ts';

const directory = 'docs/reference/openapi';

const services = await serviceDescriptions();
const documents = services.map(({ name, version, routes = [], migrations }) =>
  describeApi({ name, version, routes, database: migrations !== undefined }),
);
// The gateway comes last: its version is that of the whole.
const [face] = documents.filter(({ info }) => info.title === 'gateway');
const whole = combineApis([...documents.filter((document) => document !== face), ...(face ? [face] : [])], {
  title: 'Warren',
  version: face?.info.version ?? (JSON.parse(read('package.json')) as { version: string }).version,
});
await writeDocuments(
  new Map(
    [...documents, whole].map((document) => [
      `${directory}/${document.info.title.toLowerCase()}.json`,
      document,
    ]),
  ),
  directory,
);
