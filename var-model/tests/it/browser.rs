//! The page of `var-model serve` in a real browser, with mouse, finger and keyboard.
//!
//! Without a browser, each test says that it was skipped.

use serde_json::json;

use super::chromium::Browser;
use super::studio::Studio;

/// A desktop window, and that of a phone.
const DESKTOP: (u32, u32) = (1200, 900);
const PHONE: (u32, u32) = (390, 844);
/// No request runs, and the last one is shown.
const IDLE: &str =
    "document.getElementById('cancel').hidden && !document.getElementById('sample-go').disabled";

/// The page of a new server in a new browser; `None` without a browser.
fn page(name: &str, (width, height): (u32, u32)) -> Option<(Studio, Browser)> {
    let mut browser = Browser::start(name)?;
    let studio = Studio::built_in();
    browser.open(&studio.url, width, height);
    Some((studio, browser))
}

/// Opens the tab for edits, and waits for the example.
fn open_edits(browser: &mut Browser) {
    browser.click("#tab-edit");
    browser.wait("!document.getElementById('edit-go').disabled");
}

/// Presses Generate and waits for the result.
fn generate(browser: &mut Browser) {
    browser.click("#edit-go");
    browser.wait(&format!("!document.getElementById('compare').hidden && {IDLE}"));
}

/// Numbers of pixels that changed where `where` (an expression of x and y in fractions) holds, and where not.
fn changed(browser: &mut Browser, place: &str) -> (u64, u64) {
    let counts = browser.eval(&format!(
        "(async () => {{
            const pixels = async id => {{
                const image = document.getElementById(id);
                await image.decode();
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                const to = canvas.getContext('2d');
                to.drawImage(image, 0, 0);
                return to.getImageData(0, 0, canvas.width, canvas.height);
            }};
            const [before, after] = [await pixels('before'), await pixels('after')];
            const counts = [0, 0];
            for (let i = 0; i < before.data.length; i += 4) {{
                const x = ((i / 4) % before.width + 0.5) / before.width;
                const y = (Math.floor(i / 4 / before.width) + 0.5) / before.height;
                const same = [0, 1, 2].every(c => before.data[i + c] === after.data[i + c]);
                if (!same) counts[({place}) ? 0 : 1] += 1;
            }}
            return counts;
        }})()"
    ));
    (counts[0].as_u64().unwrap(), counts[1].as_u64().unwrap())
}

#[test]
fn a_sample_forms_scale_by_scale_and_is_shown() {
    let Some((studio, mut browser)) = page("a_sample_forms_scale_by_scale_and_is_shown", DESKTOP) else {
        return;
    };
    // Every state of the first tile and of the line for screen readers is noted.
    browser.eval(
        "window.seen = []; window.told = [];
         new MutationObserver(() => {
             const image = document.querySelector('#tiles img');
             if (image && seen.at(-1) !== image.src) seen.push(image.src);
         }).observe(document.getElementById('tiles'), { subtree: true, childList: true, attributes: true });
         new MutationObserver(() => told.push(document.getElementById('status').textContent))
             .observe(document.getElementById('status'), { childList: true });",
    );
    browser.click("#sample-go");
    browser.wait(&format!("document.querySelectorAll('#tiles img').length === 8 && {IDLE}"));
    let scales = studio.get("/api/model").json()["scales"].as_array().unwrap().len();
    let seen = browser.eval("seen.length").as_u64().unwrap() as usize;
    assert!((scales / 2..=scales).contains(&seen), "{seen} of {scales}");
    let told = browser.eval("told.join('; ')").as_str().unwrap().to_owned();
    assert!(told.contains("Scale 2 of") && told.contains("Done: 8 images"), "{told}");
    assert_eq!(
        browser.eval("[...document.querySelectorAll('#tiles img')].every(i => i.naturalWidth === 32)"),
        true
    );
    // The scales can be looked at again.
    let last = browser.eval("document.querySelector('#tiles img').src");
    browser.eval("document.getElementById('scrub').focus()");
    browser.key("Home", 36);
    browser.wait("document.getElementById('scrub').value === '1'");
    assert_ne!(browser.eval("document.querySelector('#tiles img').src"), last);
    browser.key("End", 35);
    assert_eq!(browser.eval("document.querySelector('#tiles img').src"), last);
    // What is saved has a name that says what it is. The browser asks nobody where to put it.
    browser.eval(
        "window.saved = [];
         HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };
         for (const id of ['get-image', 'get-strip', 'get-gif', 'get-apng']) document.getElementById(id).click();",
    );
    browser.wait("saved.length === 4");
    let saved = browser.eval("saved.sort().join(' ')");
    let name = "var-smileys-emotion-0";
    assert_eq!(saved, format!("images.png {name}-scales.apng {name}-scales.gif {name}-strip.png"));
    // A second one, from a search with the keyboard; both are in the history.
    browser.eval("document.getElementById('class-search').focus()");
    browser.call("Input.insertText", json!({ "text": "fla" }));
    assert_eq!(browser.text("#class-list"), "flags");
    browser.key("Enter", 13);
    assert_eq!(
        browser.eval("document.querySelector('#class-list button').getAttribute('aria-pressed')"),
        "true"
    );
    browser.click("#sample-go");
    browser.wait(&format!("document.querySelectorAll('.past').length === 2 && {IDLE}"));
    browser.picture("sample");
    // For the documentation.
    browser.eval(
        "document.getElementById('class-search').value = ''; toggleClass(4); scrollTo(0, 0);
         document.activeElement.blur(); document.getElementById('sample-go').click()",
    );
    browser.wait(&format!("document.querySelectorAll('.past').length === 3 && {IDLE}"));
    browser.eval("document.getElementById('progress').dataset.idle = ''");
    browser.eval("new Promise(ready => setTimeout(() => ready(true), 400))");
    browser.picture("studio");
    assert!(browser.text("#sample-command code").starts_with("var-model sample "));
    assert_eq!(browser.eval("document.getElementById('alert').hidden"), true);
    browser.end();
}

#[test]
fn a_mask_painted_with_the_mouse_keeps_the_pixels_outside() {
    let Some((_studio, mut browser)) =
        page("a_mask_painted_with_the_mouse_keeps_the_pixels_outside", DESKTOP)
    else {
        return;
    };
    open_edits(&mut browser);
    browser.click("[name=tool][value=brush]");
    let points: Vec<_> = [0.6, 0.7, 0.8].iter().map(|&y| browser.point("#canvas", 0.75, y)).collect();
    browser.drag(&points);
    generate(&mut browser);
    let (inside, outside) = changed(&mut browser, "x > 0.6 && x < 0.9 && y > 0.45 && y < 0.95");
    assert!(inside > 10 && outside == 0, "{inside} inside, {outside} outside");
    browser.picture("edit");
    assert!(browser.text("#edit-command code").contains("--mask mask.png"));
    browser.end();
}

#[test]
fn a_box_drawn_with_a_finger_is_generated_inside_or_outside() {
    let Some((_studio, mut browser)) =
        page("a_box_drawn_with_a_finger_is_generated_inside_or_outside", PHONE)
    else {
        return;
    };
    open_edits(&mut browser);
    let (from, to) = (browser.point("#canvas", 0.5, 0.5), browser.point("#canvas", 1.0, 1.0));
    let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
    browser.swipe(&[from, middle, (to.0 - 1.0, to.1 - 1.0)]);
    let top = browser.eval("Number(document.querySelector('[data-edge=\"0\"]').value)").as_f64().unwrap();
    assert!((top - 50.0).abs() < 2.0, "{top}");
    generate(&mut browser);
    let (inside, outside) = changed(&mut browser, "x > 0.49 && y > 0.49");
    assert!(inside > 10 && outside == 0, "{inside} inside, {outside} outside");
    browser.click("[name=side][value=outside]");
    generate(&mut browser);
    let (inside, outside) = changed(&mut browser, "x > 0.51 && y > 0.51");
    assert!(inside == 0 && outside > 10, "{inside} inside, {outside} outside");
    browser.picture("edit-phone");
    browser.end();
}

#[test]
fn the_slider_moves_with_the_keyboard_and_new_classes_change_the_result() {
    let name = "the_slider_moves_with_the_keyboard_and_new_classes_change_the_result";
    let Some((_studio, mut browser)) = page(name, DESKTOP) else { return };
    open_edits(&mut browser);
    // The box moves and grows with arrow keys.
    browser.eval("document.getElementById('canvas').focus()");
    browser.key("ArrowRight", 39);
    let left = browser.eval("Number(document.querySelector('[data-edge=\"1\"]').value)").as_f64().unwrap();
    assert!(left > 25.0, "{left}");
    generate(&mut browser);
    let first = browser.eval("document.getElementById('after').src");
    browser.eval("document.getElementById('slider').focus()");
    for _ in 0..5 {
        browser.key("ArrowRight", 39);
    }
    assert_eq!(browser.eval("document.getElementById('slider').value"), "55");
    assert_eq!(browser.eval("document.getElementById('compare').style.getPropertyValue('--at')"), "55%");
    browser.eval(
        "const select = document.getElementById('edit-class');
         select.value = [...select.options].find(option => option.textContent === 'flags').value;",
    );
    generate(&mut browser);
    browser.wait("document.querySelectorAll('.past').length === 2");
    assert_ne!(browser.eval("document.getElementById('after').src"), first);
    assert!(browser.text("#edit-command code").contains("--class flags"));
    // The sample on the stage can be edited, too, and a result further.
    browser.click("#edit-on");
    browser.wait("document.getElementById('photo-hint').textContent.startsWith('photo-edited-0.png')");
    browser.click("#tab-sample");
    browser.click("#sample-go");
    browser.wait(&format!("document.querySelectorAll('.past').length === 3 && {IDLE}"));
    browser.click("#tiles button:nth-child(2)");
    browser.click("#edit-this");
    browser.wait("document.getElementById('photo-hint').textContent.startsWith('var-smileys-emotion-0.png')");
    // An earlier result comes back to the stage.
    browser.eval("document.querySelectorAll('.past')[2].click()");
    assert_eq!(browser.eval("document.getElementById('after').src"), first);
    browser.end();
}

#[test]
fn a_request_can_be_cancelled() {
    let Some((_studio, mut browser)) = page("a_request_can_be_cancelled", DESKTOP) else { return };
    browser.eval("document.getElementById('per-class').value = 16");
    // Cancelled at its first event, whenever that comes.
    browser.eval(
        "new MutationObserver((_, observer) => {
             if (document.getElementById('status').textContent.startsWith('Scale 1 ')) {
                 observer.disconnect();
                 document.getElementById('cancel').click();
             }
         }).observe(document.getElementById('status'), { childList: true });
         document.getElementById('sample-go').click();",
    );
    browser.wait(&format!("document.getElementById('status').textContent === 'Cancelled' && {IDLE}"));
    assert_eq!(browser.eval("document.getElementById('history').hidden"), true);
    browser.eval("document.getElementById('per-class').value = 1");
    browser.click("#sample-go");
    browser.wait(&format!("document.querySelectorAll('.past').length === 1 && {IDLE}"));
    browser.end();
}

#[test]
fn a_bad_file_shows_words() {
    let Some((_studio, mut browser)) = page("a_bad_file_shows_words", DESKTOP) else { return };
    let drop = |name: &str, bytes: &str| {
        format!(
            "(() => {{ const data = new DataTransfer(); data.items.add(new File([{bytes}], '{name}')); \
             document.dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true, cancelable: true }})); \
             }})()"
        )
    };
    browser.eval(&drop("notes.txt", "'only words'"));
    browser.wait("!document.getElementById('alert').hidden");
    let text = browser.text("#alert-text");
    assert!(text.contains("cannot be read") && text.contains("known format"), "{text}");
    browser.eval(&drop("large.png", "new Uint8Array(33 << 20)"));
    browser.wait("document.getElementById('alert-text').textContent.includes('32 MB')");
    assert_eq!(browser.eval("document.getElementById('edit-go').disabled"), true);
    // Refused answers are what this is about: the browser notes each one.
    browser.forgive("Failed to load resource: the server responded with a status of 400");
    browser.end();
}

#[test]
fn a_phone_needs_no_scrolling_to_the_side() {
    let Some((_studio, mut browser)) = page("a_phone_needs_no_scrolling_to_the_side", PHONE) else { return };
    let fits = "document.documentElement.scrollWidth <= innerWidth && innerWidth === 390";
    assert_eq!(browser.eval(fits), true);
    browser.click("#sample-go");
    browser.wait(&format!("document.querySelectorAll('.past').length === 1 && {IDLE}"));
    assert_eq!(browser.eval(fits), true);
    browser.picture("sample-phone");
    // The result came into view.
    assert_eq!(browser.eval("document.getElementById('stage').getBoundingClientRect().top < 300"), true);
    browser.eval("scrollTo(0, 0)");
    browser.picture("start-phone");
    open_edits(&mut browser);
    generate(&mut browser);
    assert_eq!(browser.eval(fits), true);
    // Everything that can be pressed is large enough for a finger, and has a name.
    let small = browser.eval(
        "[...document.querySelectorAll('button, select, input:not([type=radio], [type=checkbox], [type=file])')]
            .filter(e => e.offsetParent && e.getBoundingClientRect().height < 28).map(e => e.id || e.className)",
    );
    assert_eq!(small, json!([]));
    let unnamed = browser.eval(
        "[...document.querySelectorAll('button, select, input')]
            .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
            .map(e => e.outerHTML)",
    );
    assert_eq!(unnamed, json!([]));
    browser.end();
}
