# The pipeline: Dagster's web server and daemon, the builds they start, and MLflow's page. Built from the repository's root:
#   docker build -f containers/pipeline.Dockerfile -t wakeword-pipeline .
# pyworld, of the extra speech, comes as source: this image has a compiler, the slim one has none
FROM python:3.11.13-bookworm AS packages

# the torch of this index: cpu, cu130, ...
ARG TORCH=cpu
WORKDIR /src
COPY . .
RUN python -m venv /opt/wakeword \
    && /opt/wakeword/bin/pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url "https://download.pytorch.org/whl/${TORCH}" '.[judge,postgres,speech,train]'

FROM python:3.11.13-slim-bookworm

COPY --from=packages /opt/wakeword /opt/wakeword
RUN useradd --uid 10001 --create-home --home-dir /srv/wakeword wakeword
ENV PATH=/opt/wakeword/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /srv/wakeword
ENV WAKEWORD_HOME=/srv/wakeword/home WAKEWORD_CONFIG=/srv/wakeword/wakeword.yaml
EXPOSE 3000
ENTRYPOINT ["wakeword"]
CMD ["ui", "--service", "web", "--host", "0.0.0.0"]
