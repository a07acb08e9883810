# The worker in an image: built from source, run as nobody in particular on a root that may be read-only.
#   docker build --tag mailroom .
#   docker run --read-only --cap-drop ALL --stop-timeout 35 --env MAILROOM__HTTP__BIND=0.0.0.0:8080 … mailroom

# The version is rust-version of Cargo.toml; both stages are the same Debian, whose libssl the binary links.
FROM rust:1.95-bookworm AS build
# No versions: Debian keeps one of each package, and it is the one with the fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ make pkg-config libssl-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies first, librdkafka among them: this layer is built anew only when they change, not with each change
# of ours. Cargo needs some source of ours to build them for.
COPY Cargo.toml Cargo.lock ./
COPY actors/Cargo.toml actors/
RUN mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs actors/lib.rs \
    && cargo build --release --locked --bin mailroom
COPY actors actors
COPY src src
# Newer than what was built above, whatever times they were copied with.
RUN touch src/main.rs src/lib.rs actors/lib.rs \
    && cargo build --release --locked --bin mailroom

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="mailroom" \
      org.opencontainers.image.description="The worker between Kafka and an SMTP relay for e-mail that must not be lost" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/mailroom/
COPY --from=build /src/target/release/mailroom /usr/local/bin/mailroom
# A number, so that an orchestrator can see that it is not root; it owns no file.
USER 10001:10001
# A config.toml that is mounted here is read; else there are the defaults and the environment.
WORKDIR /etc/mailroom
EXPOSE 8080
# The first asks for a clean stop, which takes worker.drain_timeout (20 s) at most and a little: wait longer than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 CMD ["mailroom", "health", "live"]
ENTRYPOINT ["mailroom"]
CMD ["run"]
