// Search in pages that are opened from a folder: browsers start no worker there, so that its script runs in a hidden
// frame. It reads two messages of the search page and answers them, like a worker.
class FrameWorker extends EventTarget {
  constructor(script) {
    super();
    const frame = document.createElement("iframe");
    frame.hidden = true;
    document.body.append(frame);
    const inner = (this.inner = frame.contentWindow);
    addEventListener("message", (event) => {
      if (event.source !== inner) return;
      const copy = new MessageEvent("message", { data: event.data });
      this.dispatchEvent(copy);
      if (this.onmessage) this.onmessage(copy);
    });
    const start = `
      postMessage = (data) => parent.postMessage(data, "*");
      importScripts = (...scripts) =>
        scripts.reduce((done, source) => done.then(() => new Promise((loaded) => {
          const tag = document.createElement("script");
          tag.src = source;
          tag.onload = loaded;
          document.body.append(tag);
        })), Promise.resolve());`;
    inner.document.open();
    inner.document.write(`<body><script>${start}</${"script"}><script src="${script}"></${"script"}></body>`);
    inner.document.close();
    this.ready = new Promise((loaded) => (frame.onload = loaded));
  }

  postMessage(data) {
    this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
  }

  terminate() {
    this.inner.frameElement.remove();
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker;
