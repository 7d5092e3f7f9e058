// Runs the VS Code extension without VS Code: `node extension_host.js EXTENSION STORY`, where STORY is a JSON list of what
// happens, step by step. Prints as JSON which servers were started, what they were told, and what the user was shown.
"use strict";

const Module = require("module");
const path = require("path");

const [extension, story] = process.argv.slice(2);
const seen = { started: [], told: [], shown: [] };
const events = {};
const state = { trusted: true, python: undefined, settings: { path: "", interpreter: "" } };
const on = (name) => (listener) => {
  (events[name] ??= []).push(listener);
  return { dispose() {} };
};
const nothing = { dispose() {} };

const python = () => ({
  activate: async () => ({
    environments: {
      getActiveEnvironmentPath: () => ({ path: state.python }),
      resolveEnvironment: async ({ path: found }) => ({ executable: { uri: { fsPath: found } } }),
      onDidChangeActiveEnvironmentPath: on("environment"),
    },
  }),
});
const vscode = {
  window: {
    createOutputChannel: () => ({ info() {}, dispose() {} }),
    showErrorMessage: async (text) => void seen.shown.push(text),
    showWarningMessage: async (text) => void seen.shown.push(text),
  },
  commands: { registerCommand: () => nothing, executeCommand: async () => undefined },
  workspace: {
    get isTrusted() {
      return state.trusted;
    },
    workspaceFolders: [{ uri: { fsPath: "/project" } }],
    getConfiguration: () => ({ ...state.settings, get: (name) => state.settings[name] }),
    onDidGrantWorkspaceTrust: on("trust"),
    onDidChangeConfiguration: on("configuration"),
  },
  extensions: {
    getExtension: () => (state.python ? (state.extension ??= python()) : undefined),
    onDidChange: on("extensions"),
  },
};
class LanguageClient {
  constructor(id, name, server, options) {
    this.command = server.command;
    this.options = options.initializationOptions;
  }
  async start() {
    const { trusted, interpreter } = this.options;
    seen.started.push({ command: path.basename(path.dirname(this.command)), trusted, interpreter });
  }
  async sendNotification(method, { settings: { trusted, interpreter } }) {
    seen.told.push({ trusted, interpreter });
  }
  async dispose() {}
}

const load = Module._load;
Module._load = (name, ...rest) =>
  ({ vscode, "vscode-languageclient/node": { LanguageClient, TransportKind: { stdio: 0 } } })[name] ?? load(name, ...rest);

(async () => {
  const { activate, deactivate } = require(path.resolve(extension));
  for (const { event, ...change } of JSON.parse(story)) {
    Object.assign(state, change);
    if (event === "activate") {
      await activate({ subscriptions: [] });
    }
    for (const listener of events[event] ?? []) {
      await listener({ affectsConfiguration: () => true });
    }
  }
  await deactivate();
  console.log(JSON.stringify(seen));
})();
