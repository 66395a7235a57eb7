// SPDX-License-Identifier: Apache-2.0

// duckdb.mjs QUERY...: prints DuckDB's answers, a row a line, values parted by tabs,
// and how many milliseconds each took on standard error.
import { DuckDBInstance } from "@duckdb/node-api";

const database = await DuckDBInstance.create(":memory:");
const connection = await database.connect();
for (const query of process.argv.slice(2)) {
  const began = performance.now();
  const answer = await connection.runAndReadAll(query);
  console.error(Math.round(performance.now() - began));
  for (const row of answer.getRows()) console.log(row.map(String).join("\t"));
}
