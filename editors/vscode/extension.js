// Finds tapefix-lsp, starts it, and tells it the settings. Everything else is the server's work.
"use strict";

const fs = require("fs");
const os = require("os");
const path = require("path");
const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

const SERVER = process.platform === "win32" ? "tapefix-lsp.exe" : "tapefix-lsp";
const INSTALL = "python -m pip install 'tapefix[lsp]'";

/** @type {LanguageClient | undefined} */
let client;
/** The program that `client` was started with. */
let running = "";
/** What `watchInterpreter` listens to. */
let watched;
/** Starts and stops come one after the other. */
let queue = Promise.resolve();

/** @param {vscode.ExtensionContext} context */
async function activate(context) {
  const log = vscode.window.createOutputChannel("tapefix", { log: true });
  const update = () => enqueue(() => refresh(log));
  const follow = () => watchInterpreter(context, update).then(update);
  context.subscriptions.push(
    log,
    vscode.commands.registerCommand("tapefix.repairFile", () => send("tapefix.proveAndApply")),
    vscode.commands.registerCommand("tapefix.measureFile", () => send("tapefix.measureGradients")),
    vscode.commands.registerCommand("tapefix.restart", () => enqueue(() => stop().then(() => refresh(log)))),
    vscode.workspace.onDidGrantWorkspaceTrust(follow),
    // The Python extension comes later where it is installed later, or where the workspace was not trusted at first.
    vscode.extensions.onDidChange(follow),
    vscode.workspace.onDidChangeConfiguration((event) => event.affectsConfiguration("tapefix") && update()),
  );
  await follow();
}

/** The Python extension chooses another interpreter: its environment may hold another server. */
async function watchInterpreter(context, update) {
  const environments = await pythonEnvironments();
  if (environments && environments !== watched) {
    watched = environments;
    context.subscriptions.push(environments.onDidChangeActiveEnvironmentPath(update));
  }
}

function deactivate() {
  return enqueue(stop);
}

/** @param {() => Promise<void>} work */
function enqueue(work) {
  queue = queue.then(work, work).catch((error) => void vscode.window.showErrorMessage(`tapefix: ${error.message}`));
  return queue;
}

/** Starts the server, or another one where the settings now name another, or tells it the new settings. */
async function refresh(log) {
  const options = await settings();
  const command = findServer(options);
  if (client && command === running) {
    await client.sendNotification("workspace/didChangeConfiguration", { settings: options });
    return;
  }
  await stop();
  if (!command) {
    reportMissing();
    return;
  }
  log.info(`starting ${command}`);
  running = command;
  client = new LanguageClient("tapefix", "tapefix", { command, transport: TransportKind.stdio }, {
    documentSelector: ["file", "untitled", "vscode-notebook-cell"].map((scheme) => ({ scheme, language: "python" })),
    initializationOptions: options,
    outputChannel: log,
    middleware: {
      workspace: { configuration: async ({ items }) => Promise.all(items.map(settings)) },
    },
  });
  await client.start();
}

async function stop() {
  const old = client;
  client = undefined;
  running = "";
  await old?.dispose();
}

/** The settings as the server takes them, with what only the editor knows. */
async function settings() {
  const chosen = vscode.workspace.getConfiguration("tapefix", folder());
  return {
    ...chosen,
    path: expanded(chosen.path),
    interpreter: expanded(chosen.interpreter) || (await activeInterpreter()) || "",
    trusted: vscode.workspace.isTrusted,
  };
}

/** The setting; else beside the interpreter, which only a trusted workspace names; else on the PATH. */
function findServer({ path: named, interpreter }) {
  if (named) {
    return isFile(named) ? named : undefined;
  }
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter((entry) => path.isAbsolute(entry));
  if (path.isAbsolute(interpreter)) {
    folders.unshift(path.dirname(interpreter), path.join(path.dirname(interpreter), "Scripts"));
  }
  return folders.map((entry) => path.join(entry, SERVER)).find(isFile);
}

async function reportMissing() {
  const named = vscode.workspace.getConfiguration("tapefix", folder()).get("path");
  const text = named
    ? `tapefix: there is no file ${named}; change the setting tapefix.path`
    : `tapefix: tapefix-lsp was not found beside the chosen interpreter or on the PATH. Install it: ${INSTALL}`;
  if (await vscode.window.showErrorMessage(text, "Open Settings")) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "tapefix.path");
  }
}

/** Has the server run the file or the notebook that is in front. */
async function send(command) {
  const uri = vscode.window.activeNotebookEditor?.notebook.uri ?? vscode.window.activeTextEditor?.document.uri;
  if (!client?.isRunning()) {
    vscode.window.showWarningMessage("tapefix: the server is not running; see the tapefix output");
  } else if (uri) {
    await vscode.commands.executeCommand(command, client.code2ProtocolConverter.asUri(uri));
  }
}

/** What the Python extension says of environments. Not asked for an untrusted workspace, which may name any program. */
async function pythonEnvironments() {
  const extension = vscode.extensions.getExtension("ms-python.python");
  return vscode.workspace.isTrusted ? (await extension?.activate())?.environments : undefined;
}

async function activeInterpreter() {
  const environments = await pythonEnvironments();
  const active = environments?.getActiveEnvironmentPath(folder()?.uri);
  return active && (await environments.resolveEnvironment(active))?.executable.uri?.fsPath;
}

function folder() {
  return vscode.workspace.workspaceFolders?.[0];
}

/** @param {string} text */
function expanded(text) {
  const home = text.replace(/^~(?=$|[/\\])/, () => os.homedir());
  return home.replaceAll("${workspaceFolder}", () => folder()?.uri.fsPath ?? "");
}

/** @param {string} name */
function isFile(name) {
  return fs.statSync(name, { throwIfNoEntry: false })?.isFile() ?? false;
}

module.exports = { activate, deactivate };
