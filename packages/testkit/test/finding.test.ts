import { expect } from 'chai';
import { databaseExists, startBroker, startDatabase, withBroker, withDatabase } from '../src/index.ts';
import { privateContainer } from '../src/rabbitmq/docker.ts';

describe('finding a broker and a database', () => {
  const broker = withBroker({ services: [] });
  const database = withDatabase();
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);

  beforeEach(() => lines.splice(0));

  it('uses what AMQP_URL names, says so in one line, and does not stop it', async () => {
    const env = { AMQP_URL: broker.adminUrl, AMQP_MANAGEMENT_URL: broker.managementUrl };

    const found = await startBroker({ env, log });
    await found.stop();

    expect(found).to.include({
      url: broker.adminUrl,
      managementUrl: broker.managementUrl,
      version: broker.version,
    });
    expect(lines).to.have.length(1);
    expect(lines[0]).to.match(/^broker: RabbitMQ \d+\.\d+\.\d+ at .*\(AMQP_URL\)$/);
    expect(lines[0]).not.to.include(new URL(broker.adminUrl).password);
    expect(await broker.queueDepth('unrouted')).to.equal(0);
  });

  it('names the management URL when nothing answers there', async () => {
    const env = { AMQP_URL: broker.adminUrl, AMQP_MANAGEMENT_URL: 'http://127.0.0.1:1' };

    const error = await startBroker({ env, log }).catch((failure: Error) => failure);

    expect(error).to.be.an('error').with.property('message').that.includes('AMQP_MANAGEMENT_URL');
  });

  it('uses what DATABASE_URL names, says so in one line, and does not stop it', async () => {
    const found = await startDatabase({ env: { DATABASE_URL: database.adminUrl }, log });
    await found.stop();

    expect(lines).to.have.length(1);
    expect(lines[0]).to.match(/^database: PostgreSQL \d+\.\d+ at .*\(DATABASE_URL\)$/);
    expect(await databaseExists(database.adminUrl, database.name)).to.equal(true);
  });

  it('names DATABASE_URL when nothing answers there', async () => {
    const env = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/x' };

    const error = await startDatabase({ env, log }).catch((failure: Error) => failure);

    expect(error).to.be.an('error').with.property('message').that.includes('127.0.0.1:1 (DATABASE_URL)');
  });

  it('passes over a Docker engine that cannot pull the image, with one line at most', async function () {
    this.timeout(60_000);

    expect(await privateContainer('127.0.0.1:1/no/such:image', log)).to.equal(undefined);

    expect(lines.length).to.be.at.most(1);
    for (const line of lines) expect(line).to.match(/^Docker is passed over: /);
  });
});
