# Both binaries in one image: `riff` is what it runs; a worker's command is `riff-worker`.
FROM rust:1-bookworm AS build
WORKDIR /riff
COPY . .
# For processors of the last ten years, not only for the one that builds.
ENV RUSTFLAGS="-C target-cpu=x86-64-v3"
RUN cargo build --release --locked -p riff-bot -p riff-worker

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /data riff
COPY --from=build /riff/target/release/riff /riff/target/release/riff-worker /usr/local/bin/
USER riff
WORKDIR /data
ENV RIFF_DATA=/data RIFF_LISTEN=0.0.0.0:7433 RIFF_OPERATE__LISTEN=0.0.0.0:9433
EXPOSE 7433 9433
CMD ["riff"]
