// The camera's frames.

const stop = (stream) => stream.getTracks().forEach((track) => track.stop());

/** A camera on a video element. `changed` is called for each frame. */
export class Camera {
  #video;
  #changed;
  #stream;
  /** The last start; others are of no interest any more. */
  #attempt;

  constructor(video, changed) {
    this.#video = video;
    this.#changed = changed;
  }

  async start() {
    const media = navigator.mediaDevices;
    if (!media) throw new Error("This page has no access to cameras; open it over https or on localhost.");
    const attempt = (this.#attempt = {});
    const stream = await media.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
    if (attempt !== this.#attempt) return stop(stream);
    this.#stream = stream;
    this.#video.srcObject = stream;
    await this.#video.play();
    this.#next();
  }

  stop() {
    if (this.#stream) stop(this.#stream);
    this.#attempt = this.#stream = undefined;
    this.#video.srcObject = null;
  }

  /** Returns the current frame, which the caller closes; undefined before the first. */
  async frame() {
    if (!this.#stream || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return undefined;
    return globalThis.VideoFrame ? new VideoFrame(this.#video) : createImageBitmap(this.#video);
  }

  #next() {
    const shown = () => {
      if (!this.#stream) return;
      this.#changed();
      this.#next();
    };
    if (this.#video.requestVideoFrameCallback) this.#video.requestVideoFrameCallback(shown);
    else requestAnimationFrame(shown);
  }
}
