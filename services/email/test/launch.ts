import { type RunningService, start } from '@warren/chassis';
import { environmentOf, eventually, type TestBroker, type TestDatabase } from '@warren/testkit';
import { service } from '../src/service.ts';

/** Starts the service with a mail server, and waits until it is ready. */
export async function launchEmail(
  { broker, database, smtp }: { broker: TestBroker; database: TestDatabase; smtp: string },
  env: Record<string, string> = {},
): Promise<RunningService> {
  const email = await start(service, {
    ...environmentOf('email', { broker, database }),
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
