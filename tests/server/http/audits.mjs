// Runs graphql-http's audits of GraphQL over HTTP against the address given, and prints how each ended as JSON.
import { serverAudits } from "graphql-http";

const results = await Promise.all(
  serverAudits({ url: process.argv[2], fetchFn: fetch }).map(async (audit) => {
    const { status, reason } = await audit.fn();
    return { name: `${audit.id} ${audit.name}`, status, reason };
  }),
);
console.log(JSON.stringify(results));
