# The judge: a model behind HTTP and WebSocket, without torch or Dagster. Built from the repository's root:
#   docker build -f containers/judge.Dockerfile -t wakeword-judge .
#   docker run -p 127.0.0.1:8765:8765 -v ./model:/model:ro -e WAKEWORD_TOKEN wakeword-judge
FROM python:3.11.13-slim-bookworm AS packages

WORKDIR /src
COPY . .
RUN python -m venv /opt/wakeword \
    && /opt/wakeword/bin/pip install --no-cache-dir --constraint constraints.txt '.[media,serve,wyoming]'

FROM python:3.11.13-slim-bookworm

COPY --from=packages /opt/wakeword /opt/wakeword
RUN useradd --uid 10001 --no-create-home wakeword
ENV PATH=/opt/wakeword/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/health', timeout=4)"]
ENTRYPOINT ["wakeword"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8765"]
