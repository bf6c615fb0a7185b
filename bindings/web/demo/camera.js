// The camera's frames.

/** A camera on a video element. `changed` is called for each frame. */
export class Camera {
  #video;
  #changed;
  #stream;

  constructor(video, changed) {
    this.#video = video;
    this.#changed = changed;
  }

  async start() {
    const media = navigator.mediaDevices;
    if (!media) throw new Error("This page has no access to cameras; open it over https or on localhost.");
    this.#stream = await media.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
    this.#video.srcObject = this.#stream;
    await this.#video.play();
    this.#next();
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
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
