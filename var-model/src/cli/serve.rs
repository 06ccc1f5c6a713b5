//! Flags of `var-model serve`.

use clap::Args;
use var_model::Error;
use var_model::serve::{self, HOST, PORT, ServeRequest};
use var_tokenizer::signals;

use super::ModelArgs;

#[derive(Args)]
#[command(after_help = "Examples:
  var-model serve                                      the built-in model, at http://127.0.0.1:8217/
  var-model serve --open                               and open the page in a browser
  var-model serve --run runs/small --port 0            a run folder, on any free port
  var-model serve --model var_d16.pth --tokenizer vae_ch160v4096z32.pth --open
  var-model serve --host 0.0.0.0                       for other machines; the address has a token
  cargo xtask studio --run runs/small                  build, serve and open the page
The page needs no network: all of it is part of the program. Images stay in the page; the server keeps none.
Ctrl-C ends the server.")]
pub struct Serve {
    #[command(flatten)]
    model: ModelArgs,
    /// Port; 0: any free port
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Address to listen on. Other addresses than this machine's own (127.0.0.1, ::1, localhost) need the token that is
    /// part of the printed address
    #[arg(long, value_name = "ADDRESS", default_value = HOST)]
    host: String,
    /// Open the page in a browser
    #[arg(long)]
    open: bool,
}

impl Serve {
    pub fn run(self) -> Result<(), Error> {
        let Self { model, port, host, open } = self;
        serve::serve(ServeRequest { source: model.into(), host, port, open }, signals::stop()?)
    }
}
