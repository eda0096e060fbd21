// Prisma on the driver adapter `@prisma/adapter-pg`: the handle is the client of an interactive transaction.
import type { Adapter } from '../adapter.ts';

interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...values: unknown[]): PromiseLike<unknown>;
}

/** What the adapter needs of a `PrismaClient`. */
interface PrismaDatabase {
  // biome-ignore lint/suspicious/noExplicitAny: a callback of the client's own transaction type
  $transaction(run: (transaction: any) => Promise<unknown>): Promise<unknown>;
}

/** `Prisma.TransactionClient` of the client. */
type TransactionOf<Client extends PrismaDatabase> = Parameters<Parameters<Client['$transaction']>[0]>[0];

/**
 * @example const adapter = prismaAdapter(new PrismaClient({ adapter: new PrismaPg({ connectionString }) }));
 */
export function prismaAdapter<Client extends PrismaDatabase>(db: Client): Adapter<TransactionOf<Client>> {
  return {
    query: (transaction) => async (text, values) =>
      (await (transaction as PrismaTransaction).$queryRawUnsafe(text, ...values)) as Record<
        string,
        unknown
      >[],
    transaction: async <Result>(run: (transaction: TransactionOf<Client>) => Promise<Result>) =>
      (await db.$transaction(run)) as Result,
  };
}
