# The two images of the fleet:
#
#	docker build --target coordinator -t lastmile-coordinator .
#	docker build --target probe -t lastmile-probe .
#
# Both run as uid 10001, keep their data in /data and answer /healthz, /readyz and /metrics. `make containers`
# builds them and shows them at work.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
        -ldflags "-s -w -X lastmile/cmd/coordinator/app.version=${VERSION} -X lastmile/cmd/probe/app.version=${VERSION}" \
        -o /out/ ./cmd/coordinator ./cmd/probe

# tzdata is for CRON_TZ= in schedules, and both programs plan; ca-certificates for the services they talk to.
FROM debian:bookworm-slim AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 lastmile \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin lastmile \
 && install -d -o 10001 -g 10001 -m 0750 /data
ENV LASTMILE_DATA=/data
VOLUME /data
LABEL org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS coordinator
COPY --from=build /out/coordinator /usr/local/bin/coordinator
COPY scenarios /scenarios
# NATS listens beyond the container, so the coordinator asks for LASTMILE_NATS_TOKEN before it starts.
ENV LASTMILE_SCENARIOS=/scenarios \
    LASTMILE_LISTEN=0.0.0.0:9464 \
    LASTMILE_NATS_LISTEN=0.0.0.0:4222
EXPOSE 4222 9464
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${LASTMILE_LISTEN##*:} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="lastmile coordinator" \
      org.opencontainers.image.description="Plans synthetic journeys, keeps the ledger of their slots and evaluates SLOs" \
      org.opencontainers.image.version="${VERSION}"
ENTRYPOINT ["coordinator"]
CMD ["serve"]

FROM runtime AS probe
# The browser is part of what a probe measures with, so its version is a decision. To bump it, take what
#   docker run --rm debian:bookworm-slim sh -c 'apt-get -qq update && apt-cache policy chromium-headless-shell'
# offers, run the tests against it, and write it here. Debian removes a version when it publishes the next security
# fix: this build then stops at "Version ... was not found", which says that a bump is due. --build-arg CHROMIUM_VERSION=
# takes whatever is offered.
ARG CHROMIUM_VERSION=156.0.8078.79-1~deb12u1
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
        "chromium-headless-shell${CHROMIUM_VERSION:+=${CHROMIUM_VERSION}}" \
        "chromium-common${CHROMIUM_VERSION:+=${CHROMIUM_VERSION}}" \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/probe /usr/local/bin/probe
ENV LASTMILE_LISTEN=0.0.0.0:9465
EXPOSE 9465
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${LASTMILE_LISTEN##*:} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="lastmile probe" \
      org.opencontainers.image.description="Runs synthetic journeys from one region" \
      org.opencontainers.image.version="${VERSION}"
# Chromium's processes outlive a killed browser; as PID 1 tini reaps them.
ENTRYPOINT ["tini", "--", "probe"]
CMD ["serve"]
