import asyncio, time, tempfile, pathlib, sys, os, orjson, cProfile, pstats
os.environ["LOG_LEVEL"]="error"
from server.embedded import embedded
from server.settings import Settings, Environment
from server.migrating import migrate
from server.app import create_app, open_shop
from graph.documents import Documents
from graph.context import Context
from graph import execution
W1="""query ($n: Int) { books(first: $n) { nodes { id title authors { name } isbn price { amount } stockQuantity genre { name } averageRating reviewCount } pageInfo { hasNextPage endCursor } } }"""
async def main(url):
    s=Settings(_env_file=None, environment=Environment.DEVELOPMENT, database_url=url, secret_key=["x1"*20+"abcdefghijk"], rate_limit_burst=10**12)
    shop=open_shop(s)
    async with shop.database:
        for compiled in (True, False):
            d=Documents(introspection=True, compiled=compiled)
            async def once():
                c=Context(shop,"r1"); a=await execution.answer(d,c,execution.Request(W1,{"n":20})); return orjson.dumps(a.body)
            for _ in range(20): b=await once()
            print(len(b), b[:100])
            n=300
            t=time.process_time()
            for _ in range(n): await once()
            print(compiled, (time.process_time()-t)/n*1000, "ms")
            if compiled and "-p" in sys.argv:
                pr=cProfile.Profile(); pr.enable()
                for _ in range(n): await once()
                pr.disable(); pstats.Stats(pr).sort_stats("tottime").print_stats(35)
with tempfile.TemporaryDirectory() as f, embedded(pathlib.Path(f)/"data") as url:
    migrate(url)
    import subprocess
    subprocess.run(["bookstore","demo"],env=os.environ|{"DATABASE_URL":url,"ENVIRONMENT":"development","SECRET_KEY":"y1"*20+"abcdefghijk"},stdout=subprocess.DEVNULL)
    try:
        import uvloop; asyncio.run(main(url), loop_factory=uvloop.new_event_loop) if sys.version_info>=(3,12) else uvloop.run(main(url))
    finally: pass
