import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { withBroker } from '@warren/testkit';
import { expect } from 'chai';
import { currentTraceparent, tracing } from '../src/telemetry/tracing.ts';
import { echo, oracle, pilgrim, stage } from './fixtures/questions.ts';

interface Span {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  kind: number;
}

const CLIENT = 3;
const SERVER = 2;

describe('the trace of a request over the broker', () => {
  const broker = withBroker({ services: ['oracle', 'pilgrim'] });
  const { launch, ask } = stage(broker);
  const spans: Span[] = [];
  let collector: Server;
  let traces: { shutdown(): Promise<void> };

  before(async () => {
    collector = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      for (const { scopeSpans } of JSON.parse(Buffer.concat(chunks).toString()).resourceSpans)
        for (const { spans: some } of scopeSpans) spans.push(...some);
      response.setHeader('content-type', 'application/json').end('{}');
    });
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    const { port } = collector.address() as AddressInfo;
    traces = await tracing.start({
      service: 'test',
      version: '1',
      endpoint: `http://127.0.0.1:${port}`,
    });
  });
  after(async () => {
    await traces.shutdown();
    collector.close();
  });

  it('is one, from the HTTP of the one service to the handler of the other', async () => {
    let inside: string | undefined;
    await launch(
      oracle(async (...of) => {
        inside = currentTraceparent();
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    await ask(asking, '', { traceparent: `00-${traceId}-b7ad6b7169203331-01` });
    await traces.shutdown();

    const [http, request, serve] = ['GET /ask', 'oracle.answer request', 'oracle.answer serve'].map((name) =>
      spans.find((span) => span.name === name),
    );
    expect(http).to.include({ traceId, parentSpanId: 'b7ad6b7169203331' });
    expect(request).to.include({ traceId, parentSpanId: http?.spanId, kind: CLIENT });
    expect(serve).to.include({ traceId, parentSpanId: request?.spanId, kind: SERVER });
    expect(inside).to.equal(`00-${traceId}-${serve?.spanId}-01`);
  });
});
