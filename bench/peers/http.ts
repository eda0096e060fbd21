// The HTTP of the peers that use node:http by itself.
import { createServer, type IncomingMessage, type Server } from 'node:http';

export interface NewOrder {
  userId: string;
  productName: string;
  price: number;
  currency?: string;
}

/** Answers `POST /orders` with what `placeOrder` returns, and everything else, or everything without it, with 404. */
export function serve(port: string | undefined, placeOrder?: (order: NewOrder) => Promise<object>): Server {
  const server = createServer((request, response) => {
    if (placeOrder === undefined || request.method !== 'POST' || request.url !== '/orders') {
      response.writeHead(404).end();
      return;
    }
    readJson(request)
      .then(placeOrder)
      .then(
        (order) => response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(order)),
        (error) => {
          console.error(error);
          response.writeHead(500).end();
        },
      );
  });
  return server.listen(Number(port), '127.0.0.1');
}

async function readJson(request: IncomingMessage): Promise<NewOrder> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}
