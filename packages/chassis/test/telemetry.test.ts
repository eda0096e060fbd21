import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { get } from '../src/http/routes.ts';
import {
  createLog,
  createMetrics,
  currentTraceparent,
  isTraceparent,
  SpanKind,
  traceIdOf,
  tracing,
  withSpan,
} from '../src/telemetry/index.ts';
import { closeWebs, openWeb } from './http-fixture.ts';

const INCOMING = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

describe('the log', () => {
  const logged = (write: (log: ReturnType<typeof createLog>) => void) => {
    const lines: string[] = [];
    write(
      createLog({
        service: 'user',
        version: '1.2.3',
        level: 'info',
        stream: { write: (line) => void lines.push(line) },
      }),
    );
    return lines.map((line) => JSON.parse(line));
  };

  it('is one JSON object a line, with time, level and service', () => {
    const [line] = logged((log) => log.info({ n: 1 }, 'hello %s', 'world'));
    expect(line).to.include({ level: 'info', service: 'user', version: '1.2.3', n: 1, msg: 'hello world' });
    expect(new Date(line.time).toISOString()).to.equal(line.time);
  });

  it('leaves out what is below its level', () => {
    expect(logged((log) => log.debug('quiet'))).to.deep.equal([]);
  });

  it('hides secrets by their names, at any depth', () => {
    const [line] = logged((log) =>
      log.info({
        password: 'hunter2',
        config: { api_key: 'hunter2', nested: [{ Authorization: 'Bearer hunter2' }] },
        headers: { cookie: 'a=hunter2', 'set-cookie': ['hunter2'], accept: 'json' },
        accessToken: 'hunter2',
        key: 'idempotency keys are no secrets',
      }),
    );
    expect(JSON.stringify(line)).not.to.contain('hunter2');
    expect(line).to.deep.include({ password: '***', key: 'idempotency keys are no secrets' });
    expect(line.headers.accept).to.equal('json');
  });

  it('hides passwords in URLs, in fields, messages and errors', () => {
    const url = 'amqp://guest:hunter2@rabbit:5672/%2f';
    const error = Object.assign(new Error(`cannot reach ${url}`, { cause: new Error(url) }), {
      code: 'ECONNREFUSED',
      config: { password: 'hunter2' },
      parameters: ['hunter2'],
    });
    const lines = logged((log) => {
      log.info({ url, urls: [url] }, `connecting to ${url}`);
      log.error({ err: error }, 'failed');
      log.error(error);
      log.warn({ err: new AggregateError([error], url) });
      log.info('connecting to %s', url);
    });
    expect(lines).to.have.length(5);
    expect(JSON.stringify(lines)).not.to.contain('hunter2');
    expect(lines[0].url).to.equal('amqp://guest:***@rabbit:5672/%2f');
    expect(lines[1].err).to.include({ type: 'Error', code: 'ECONNREFUSED' });
    expect(lines[1].err.stack).to.match(/telemetry\.test\.ts/);
    expect(lines[1].err.cause.message).to.equal('amqp://guest:***@rabbit:5672/%2f');
  });

  it('does not change what it logs', () => {
    const fields = { password: 'hunter2', nested: { token: 'x' } };
    logged((log) => log.info(fields));
    expect(fields).to.deep.equal({ password: 'hunter2', nested: { token: 'x' } });
  });

  it('does not choke on what refers to itself', () => {
    const loop: Record<string, unknown> = { name: 'loop' };
    loop.self = loop;
    expect(logged((log) => log.info({ loop }, 'round'))[0]).to.include({ msg: 'round' });
  });
});

describe('the metrics', () => {
  const namesOf = async (parts: { http: boolean; database: boolean; broker: boolean }) => {
    const { registry } = createMetrics({ service: 'user', version: '1', ...parts });
    return (await registry.getMetricsAsJSON())
      .map(({ name }) => name)
      .filter((name) => !/^(nodejs|process)_/.test(name));
  };

  it('have the names DESIGN fixes', async () => {
    expect(await namesOf({ http: true, database: true, broker: true })).to.have.members([
      ...[
        'http_request_duration_seconds',
        'http_malformed_requests_total',
        'events_published_total',
        'event_publish_duration_seconds',
      ],
      'events_unconsumed_total',
      ...['events_consumed_total', 'event_handling_duration_seconds', 'event_lag_seconds'],
      'messages_forged_total',
      ...[
        'outbox_pending',
        'outbox_oldest_age_seconds',
        'outbox_parked',
        'outbox_held',
        'tasks_pending',
        'rpc_duration_seconds',
        'rpc_handling_duration_seconds',
        'rpc_replies_dropped_total',
      ],
      ...['db_pool_connections', 'database_connected', 'broker_connected', 'build_info'],
    ]);
  });

  it('are there only for what a service has', async () => {
    expect(await namesOf({ http: true, database: false, broker: false })).to.have.members([
      'http_request_duration_seconds',
      'http_malformed_requests_total',
      'build_info',
    ]);
  });

  it('are apart for each service of a process', async () => {
    const parts = { version: '1', http: true, database: true, broker: true };
    const one = createMetrics({ service: 'one', ...parts });
    const two = createMetrics({ service: 'two', ...parts });
    one.eventsPublished.inc({ type: 'x', outcome: 'confirmed' });
    expect(await one.registry.metrics()).to.contain('events_published_total{type="x"');
    expect(await two.registry.metrics()).not.to.contain('events_published_total{type="x"');
  });

  it('include those of Node', async () => {
    const { registry } = createMetrics({
      service: 'user',
      version: '1',
      http: true,
      database: true,
      broker: true,
    });
    expect(await registry.metrics())
      .to.contain('nodejs_heap_size_used_bytes')
      .and.contain('process_cpu_seconds_total');
  });
});

describe('a traceparent', () => {
  it('is well-formed or nothing', () => {
    expect(isTraceparent(INCOMING)).to.equal(true);
    expect(traceIdOf(INCOMING)).to.equal('0af7651916cd43dd8448eb211c80319c');
    const wrong = [
      undefined,
      '',
      'x',
      INCOMING.toUpperCase(),
      INCOMING.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
      INCOMING.replace('b7ad6b7169203331', '0'.repeat(16)),
      `ff${INCOMING.slice(2)}`,
      `${INCOMING}\n`,
      `${INCOMING}-extra`,
      `${INCOMING}-`,
      `${INCOMING}.`,
      `01${INCOMING.slice(2)}-${'x'.repeat(300)}`,
    ];
    for (const text of wrong) expect(isTraceparent(text), text).to.equal(false);
    expect(isTraceparent(`01${INCOMING.slice(2)}-more`), 'a later version').to.equal(true);
  });
});

describe('tracing that is off', () => {
  it('passes an incoming trace on unchanged, and makes none', async () => {
    const { shutdown } = await tracing.start({ service: 'user', version: '1' });
    expect(
      await withSpan('a', { parent: INCOMING }, async () =>
        withSpan('b', {}, async () => currentTraceparent()),
      ),
    ).to.equal(INCOMING);
    expect(await withSpan('a', {}, async (span) => [span, currentTraceparent()])).to.deep.equal([
      undefined,
      undefined,
    ]);
    expect(await withSpan('a', { parent: 'nonsense' }, async () => currentTraceparent())).to.equal(undefined);
    expect(currentTraceparent()).to.equal(undefined);
    await shutdown();
  });

  it('loads nothing of the SDK', async function () {
    this.timeout(20_000);
    const script = `
      import { registerHooks } from 'node:module';
      const loaded = [];
      registerHooks({ resolve: (specifier, context, next) => (loaded.push(specifier), next(specifier, context)) });
      const { tracing } = await import(${JSON.stringify(new URL('../src/telemetry/index.ts', import.meta.url).href)});
      await tracing.start({ service: 'user', version: '1' });
      console.log(loaded.filter((name) => name.startsWith('@opentelemetry/')).join());`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    expect(new Set(stdout.trim().split(','))).to.deep.equal(new Set(['@opentelemetry/api']));
  });
});

describe('tracing that is on', () => {
  interface Span {
    name: string;
    traceId: string;
    spanId: string;
    parentSpanId?: string;
    kind: number;
    attributes: { key: string; value: Record<string, unknown> }[];
    status: { code?: number };
    service: string;
  }
  const spans: Span[] = [];
  let collector: Server;
  let endpoint: string;
  let started: { shutdown(): Promise<void> };

  before(async () => {
    collector = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString());
        for (const { resource, scopeSpans } of resourceSpans) {
          const service = resource.attributes.find(({ key }: { key: string }) => key === 'service.name').value
            .stringValue;
          for (const { spans: some } of scopeSpans)
            spans.push(...some.map((span: Span) => ({ ...span, service })));
        }
        response.setHeader('content-type', 'application/json').end('{}');
      });
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  });
  after(() => collector.close());
  beforeEach(async () => {
    spans.length = 0;
    started = await tracing.start({ service: 'user', version: '1', endpoint });
  });
  afterEach(async () => {
    await started.shutdown();
    await closeWebs();
  });

  it('exports spans that hang together, and tells others where they are', async () => {
    const inner = await withSpan('outer', { kind: SpanKind.CONSUMER, parent: INCOMING }, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return withSpan('inner', { attributes: { n: 1 } }, async () => currentTraceparent());
    });
    const failure = await withSpan('failed', {}, async () => {
      throw new Error('no');
    }).catch((error) => error.message);
    await started.shutdown();
    expect(failure).to.equal('no');
    const [a, b, c] = ['outer', 'inner', 'failed'].map(
      (name) => spans.find((span) => span.name === name) as Span,
    );
    expect(a).to.include({
      traceId: traceIdOf(INCOMING),
      parentSpanId: 'b7ad6b7169203331',
      kind: 5,
      service: 'user',
    });
    expect(b).to.include({ traceId: a?.traceId, parentSpanId: a?.spanId });
    expect(inner).to.equal(`00-${b?.traceId}-${b?.spanId}-01`);
    expect(c?.status.code).to.equal(2);
    expect(c?.traceId).not.to.equal(a?.traceId);
  });

  it('makes a span of every request, under its route', async () => {
    const seen: (string | undefined)[] = [];
    const web = await openWeb({
      routes: [
        get('/users/:id', { access: 'public' }, async () => {
          seen.push(currentTraceparent());
          return {};
        }),
      ],
    });
    await fetch(`${web.url}/users/7`, { headers: { traceparent: INCOMING, 'x-correlation-id': 'traced' } });
    const line = await eventually(() => web.access('traced') ?? false);
    await started.shutdown();
    const span = spans.find(({ name }) => name === 'GET /users/:id') as Span;
    expect(span).to.include({ traceId: traceIdOf(INCOMING), parentSpanId: 'b7ad6b7169203331', kind: 2 });
    expect(seen).to.deep.equal([`00-${span.traceId}-${span.spanId}-01`]);
    expect(line.traceId).to.equal(span.traceId);
    const attributes = Object.fromEntries(
      span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]),
    );
    expect(attributes).to.include({
      'http.request.method': 'GET',
      'http.route': '/users/:id',
      'http.response.status_code': 200,
    });
  });

  it('lasts until the last service of the process has stopped', async () => {
    const other = await tracing.start({ service: 'session', version: '1', endpoint });
    await started.shutdown();
    expect(await withSpan('still', {}, async () => currentTraceparent())).to.be.a('string');
    await other.shutdown();
    expect(await withSpan('no more', {}, async () => currentTraceparent())).to.equal(undefined);
    expect(spans.map(({ name }) => name)).to.deep.equal(['still']);
  });

  it('lets a service end when the collector is unavailable', async () => {
    const away = createServer();
    await new Promise<void>((resolve) => away.listen(0, '127.0.0.1', resolve));
    const { port } = away.address() as AddressInfo;
    await new Promise((resolve) => away.close(resolve));
    await started.shutdown();
    const lonely = await tracing.start({
      service: 'user',
      version: '1',
      endpoint: `http://127.0.0.1:${port}`,
    });
    await withSpan('lost', {}, async () => {});
    await lonely.shutdown();
  });
});
