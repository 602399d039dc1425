//! Traces of jobs for OpenTelemetry: spans go to a collector in batches, by OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>). A collector that is down costs spans, never jobs.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use axum::http::Uri;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor},
};
use riff_hub::{hub::Hub, span::Span};

/// What goes on sending spans until it is told that the hub ends.
pub struct Export(Arc<BatchSpanProcessor>);

/// Exports the spans of a hub's jobs to the collector at an address such as `http://127.0.0.1:4318`.
///
/// # Errors
/// If that is no address.
pub fn export(hub: &Hub, collector: &str) -> anyhow::Result<Option<Export>> {
    if collector.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("operate.otlp = {collector:?} is no address, such as \"http://127.0.0.1:4318\"");
    let address: Uri = collector.parse().with_context(wrong)?;
    anyhow::ensure!(matches!(address.scheme_str(), Some("http" | "https")), wrong());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
        .build()
        .with_context(wrong)?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&Resource::builder().with_service_name("riff").build());
    let processor = Arc::new(processor);
    let sink = processor.clone();
    hub.trace_to(move |span| sink.on_end(data(span)));
    Ok(Some(Export(processor)))
}

impl Export {
    /// Sends what is left.
    pub async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

fn data(span: Span) -> SpanData {
    let id = |id: u64| SpanId::from_bytes(id.to_be_bytes());
    let trace = TraceId::from_bytes(span.trace.to_be_bytes());
    let at = |ms: i64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64);
    SpanData {
        span_context: SpanContext::new(trace, id(span.id), TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: span.parent.map_or(SpanId::INVALID, id),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(span.name),
        start_time: at(span.from_ms),
        end_time: at(span.to_ms),
        attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("riff").build(),
    }
}
