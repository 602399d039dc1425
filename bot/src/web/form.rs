//! A form as a browser posts it: plain, or in parts where there are files in it.

use std::collections::HashMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

/// Most parts of a form.
const MAX_PARTS: usize = 200;

/// What was filled in.
#[derive(Debug, Default)]
pub struct Form {
    /// Texts by the names of their fields.
    pub fields: HashMap<String, String>,
    /// Files that were chosen, by the names of their fields.
    pub files: Vec<(String, Bytes)>,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("multipart/form-data") {
            let plain = axum::Form::<HashMap<String, String>>::from_request(request, state).await;
            let axum::Form(fields) = plain.map_err(IntoResponse::into_response)?;
            return Ok(Self { fields, files: Vec::new() });
        }
        let mut parts = Multipart::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let mut form = Self::default();
        for _ in 0..MAX_PARTS {
            let Some(part) = parts.next_field().await.map_err(IntoResponse::into_response)? else { break };
            let name = part.name().unwrap_or_default().to_owned();
            match part.file_name().is_some() {
                true => {
                    let bytes = part.bytes().await.map_err(IntoResponse::into_response)?;
                    // Where none was chosen, browsers send an empty one.
                    if !bytes.is_empty() {
                        form.files.push((name, bytes));
                    }
                }
                false => {
                    let text = part.text().await.map_err(IntoResponse::into_response)?;
                    form.fields.insert(name, text);
                }
            }
        }
        Ok(form)
    }
}
