// SPDX-License-Identifier: Apache-2.0

// duckdb.mjs QUERY: prints DuckDB's answer, a row a line, values parted by tabs.
import { DuckDBInstance } from "@duckdb/node-api";

const database = await DuckDBInstance.create(":memory:");
const connection = await database.connect();
const answer = await connection.runAndReadAll(process.argv[2]);
for (const row of answer.getRows()) console.log(row.map(String).join("\t"));
