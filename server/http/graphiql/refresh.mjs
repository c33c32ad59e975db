// Updates static/ to the versions below: `node refresh.mjs`. See README.md.
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const packages = ["graphiql@4.1.2", "graphql@16.11.0", "react@18.3.1", "react-dom@18.3.1"]
const unlisted = ["graphql-ws@5", "@fontsource/roboto@5.0.0", "@fontsource/fira-code@5.0.0"] // bundled, so their licenses are needed
const vendored = [
  "graphiql/graphiql.min.js",
  "graphiql/graphiql.min.css",
  "react/umd/react.production.min.js",
  "react-dom/umd/react-dom.production.min.js",
]

const folder = mkdtempSync(join(tmpdir(), "graphiql-"))
const modules = join(folder, "node_modules")
const target = new URL("static/", import.meta.url)

execFileSync("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", ...packages, ...unlisted], { stdio: "inherit" })

for (const file of vendored) {
  const text = readFileSync(join(modules, file), "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n")
  writeFileSync(new URL(file.split("/").pop(), target), text)
}
writeFileSync(new URL("LICENSES.txt", target), licenses())
rmSync(folder, { recursive: true })

/** Returns the license texts of all installed packages, each text once. */
function licenses() {
  const owners = new Map()
  for (const name of installed()) {
    const { version, license, author } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"))
    const file = readdirSync(join(modules, name)).find((entry) => /^licen[cs]e/i.test(entry))
    const by = author?.name ?? author ?? "its contributors"
    const text = file
      ? readFileSync(join(modules, name, file), "utf8").replace(/\r/g, "").replace(/[ \t]+$/gm, "").trim()
      : `${license}; the package has no license file. Written by ${by}.`
    owners.set(text, [...(owners.get(text) ?? []), `${name} ${version}`])
  }
  return [...owners].map(([text, names]) => `==== ${names.join(", ")}\n\n${text}\n`).join("\n\n")
}

function installed() {
  return readdirSync(modules)
    .filter((entry) => !entry.startsWith("."))
    .flatMap((entry) => (entry.startsWith("@") ? readdirSync(join(modules, entry)).map((name) => `${entry}/${name}`) : [entry]))
    .filter((name) => existsSync(join(modules, name, "package.json")))
    .sort()
}
