// Runs graphql-http's audits against a URL, and prints the results as JSON.
import { serverAudits } from "graphql-http";

const results = await Promise.all(
  serverAudits({ url: process.argv[2], fetchFn: fetch }).map(async (audit) => {
    const { status, reason } = await audit.fn();
    return { name: `${audit.id} ${audit.name}`, status, reason };
  }),
);
console.log(JSON.stringify(results));
