import { type RunningService, start } from '@warren/chassis';
import { eventually, type TestBroker, type TestDatabase } from '@warren/testkit';
import { service } from '../src/service.ts';

/** Starts the service with a mail server, and waits until it is ready. */
export async function launchEmail(
  { broker, database, smtp }: { broker: TestBroker; database: TestDatabase; smtp: string },
  env: Record<string, string> = {},
): Promise<RunningService> {
  const email = await start(service, {
    PORT: '0',
    ADMIN_PORT: '0',
    LOG_LEVEL: 'silent',
    AMQP_URL: broker.url('email'),
    DATABASE_URL: database.url,
    SMTP_URL: smtp,
    MAIL_FROM: 'shop@warren.example',
    ...env,
  });
  try {
    await eventually(() => email.ready());
    return email;
  } catch (error) {
    await email.stop(); // it would hold the process
    throw error;
  }
}
