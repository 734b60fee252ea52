"""What the page asks of the server, and no more."""

import numpy as np
from fastapi import FastAPI, Header, HTTPException, Response, WebSocket

from wakeword_core.stream_scorers import GraphScorer
from wakeword_core.streaming_model import StreamingModel


def stub_app(folder, token=""):
    model = StreamingModel(folder)
    app = FastAPI()

    def check(authorization: str) -> None:
        if token and authorization != f"Bearer {token}":
            raise HTTPException(401, "the token is missing")

    @app.get("/v1/model")
    def describe(authorization: str = Header("")) -> dict:
        check(authorization)
        card = {name: value for name, value in model.card.items() if name != "streaming"}
        facts = {"threshold": model.threshold, "stride_frames": model.stride_frames, "streaming": model.facts}
        return {"key": model.card["keys"]["onnx_model"], "words": model.labels[1:], "card": card, **facts}

    @app.get("/v1/model/streaming.onnx")
    def streaming(authorization: str = Header("")) -> Response:
        check(authorization)
        return Response(model.path.read_bytes(), media_type="application/octet-stream")

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        offered = websocket.scope["subprotocols"]
        await websocket.accept("bearer" if offered else None)
        if token and offered != ["bearer", token]:
            await websocket.send_json({"type": "error", "code": "unauthorized", "detail": "the token is wrong"})
            return await websocket.close(1008)
        scorer = GraphScorer(model)
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if message.get("bytes") is not None:
                times, scores = scorer.push(np.frombuffer(message["bytes"], "<i2").astype(np.int16))
                step = model.stride_frames * model.frontend.hop_length / model.sample_rate
                if len(times):
                    rows = [[round(float(one), 6) for one in row] for row in scores]
                    answer = {"type": "scores", "start": round(times[0], 4), "step": step, "scores": rows}
                    await websocket.send_json(answer)

    return app
