use std::cell::Cell;

use super::*;

const NAME: &str = "realesr-animevideov3-x4.param";

fn param() -> PathBuf {
    let ours = || concat!(env!("CARGO_MANIFEST_DIR"), "/../weights").into();
    let weights: PathBuf = std::env::var_os("RIFF_WEIGHTS").map_or_else(ours, PathBuf::from);
    let path = weights.join(NAME);
    assert!(path.is_file(), "{} is missing: run ./test once, it fetches the weights", path.display());
    path
}

fn picture(bytes: &[u8]) -> RgbImage {
    image::load_from_memory(bytes).unwrap().into_rgb8()
}

fn difference(left: &RgbImage, right: &RgbImage) -> u8 {
    assert_eq!(left.dimensions(), right.dimensions());
    left.iter().zip(right.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn a_picture_is_enlarged_as_ncnn_does_it_to_one_step_of_255() {
    let network = network::open(&param()).unwrap();
    let small = picture(include_bytes!("../../../tests/upscale/small.png"));
    let large = tiles::enlarge(&network, &small, &|| true, &|_| {}).unwrap();
    assert!(difference(&large, &picture(include_bytes!("../../../tests/upscale/large.png"))) <= 1);
}

#[test]
fn tiles_have_no_seams() {
    let network = network::open(&param()).unwrap();
    let wave = |x: u32, y: u32| ((x * x + 3 * y) % 251) as u8;
    let small = RgbImage::from_fn(tiles::TILE + 30, 20, |x, y| image::Rgb([wave(x, y), wave(y, x), 90]));
    let told = Cell::new(0);
    let tiled = tiles::enlarge(&network, &small, &|| true, &|_| told.set(told.get() + 1)).unwrap();
    assert_eq!(told.get(), 2);
    let whole = tiles::enlarge_by(4 * tiles::TILE, &network, &small, &|| true, &|_| {}).unwrap();
    assert!(difference(&tiled, &whole) <= 1);
}

#[test]
fn enlarging_stops_between_two_layers() {
    let network = network::open(&param()).unwrap();
    let layers = Cell::new(0);
    let keep_on = || {
        layers.set(layers.get() + 1);
        layers.get() < 5
    };
    let ended = tiles::enlarge(&network, &RgbImage::new(16, 16), &keep_on, &|_| {});
    assert!(matches!(ended, Err(EngineError::Cancelled)));
    assert_eq!(layers.get(), 5);
}

#[test]
fn files_that_are_no_network_are_refused_by_name() {
    let text = std::fs::read_to_string(param()).unwrap();
    let bin = std::fs::read(param().with_extension("bin")).unwrap();
    let why = |text: &str, bin: &[u8]| Network::read(text, bin).map(drop).unwrap_err().to_string();
    insta::assert_snapshot!(why("ONNX", &bin), @"line 1 of its .param file cannot be read: 7767517 was expected");
    insta::assert_snapshot!(why(&text, &bin[..bin.len() - 10]), @"its .bin file is not the one of its .param file: it ends 10 bytes too soon");
    insta::assert_snapshot!(why(&text, &[&bin[..], &[0; 4]].concat()), @"its .bin file is not the one of its .param file: 4 bytes are left over");
    insta::assert_snapshot!(why(&text.replace("PixelShuffle ", "Swish "), &bin), @"line 40 of its .param file cannot be read: layers of kind Swish are not known");
    insta::assert_snapshot!(why(&text.replace("3=1", "3=2").replace("4=1 5", "3=2 4=1 5"), &bin), @"line 5 of its .param file cannot be read: its setting 3 is 2; 1 was expected");
}
